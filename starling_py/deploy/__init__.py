"""What workers on AWS Lambda are made of, and how they get there."""

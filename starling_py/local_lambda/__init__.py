"""AWS Lambda on this machine: its Invoke API before processes of the official runtime client."""

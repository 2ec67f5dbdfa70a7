"""Rules that rewrite the algebra: one rule, one file, one public function from plan to plan."""

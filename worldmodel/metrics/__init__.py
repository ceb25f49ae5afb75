"""How faithful a world model is: each metric beside the baseline that gives it a meaning."""

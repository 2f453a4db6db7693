"""What listings can do, a file for each noun."""

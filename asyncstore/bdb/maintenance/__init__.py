"""What is done to databases and environments as a whole: dumps, verification, backups, recovery."""

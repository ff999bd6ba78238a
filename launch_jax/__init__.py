"""The program that trains: command line flags, several hosts, and the task of a config."""

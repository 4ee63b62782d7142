"""What people and processes run: the service, its start, retention, installation."""

"""Its place puts `tests` on the path, so that tests in every folder can import `counting`."""

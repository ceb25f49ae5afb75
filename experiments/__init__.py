"""What a person types: thin scripts that parse, call and print."""

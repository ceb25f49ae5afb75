"""What a person types: thin scripts that parse, call and print."""

__all__: list[str] = []

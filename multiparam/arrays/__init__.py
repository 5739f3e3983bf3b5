"""Arrays of numbers, whoever has their memory: copied, converted, drawn, compared."""

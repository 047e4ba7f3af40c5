"""Reading tables that people bring: CSV by its standard, and columns of times in any written form."""

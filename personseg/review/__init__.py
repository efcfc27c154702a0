"""The page for the report's labour: masks worst first, sorted into three categories, mended by brush."""

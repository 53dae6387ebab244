"""All that touches a GPU. PyCUDA is imported here and nowhere else, and never on import."""

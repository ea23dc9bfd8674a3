"""Being here puts ``tests/`` on the import path: several folders of tests share `native_layouts`."""

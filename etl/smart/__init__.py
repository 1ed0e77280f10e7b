"""SMART scopes and grants, as values: shared by authorization server and gateway.

Neither of the two imports the other; both import this package.
"""

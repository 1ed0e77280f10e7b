"""SMART scopes and grants, as values: shared by authorization server and gateway.

Neither of the two knows the other; both know this room.
"""

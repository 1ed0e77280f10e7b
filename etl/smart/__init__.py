"""What the authorization server grants and the gateway obeys: SMART scopes and grants, as values.

Neither of the two knows the other; both know this room.
"""

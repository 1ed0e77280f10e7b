from tests.given.auth_server import browser, issued, ready_keys, standing

__all__ = ["browser", "issued", "ready_keys", "standing"]

"""What holds for all tests."""

from hypothesis import settings

# A machine that others use too is slow now and then; that says nothing of what is tested.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

"""The whole job over real stores."""

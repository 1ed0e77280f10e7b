"""The developer portal: pages for developers of apps."""

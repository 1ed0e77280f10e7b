"""The developer portal: pages for those who write apps."""

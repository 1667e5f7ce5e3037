"""What the product costs beside other tools, on made data, each in a process of its own: see README.md."""

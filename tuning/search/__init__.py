"""What is tried next, and which trial goes on: the search without Ray, a process or a clock."""

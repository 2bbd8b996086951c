"""The same search against a clock and recorded or computed curves; no Ray, no process."""

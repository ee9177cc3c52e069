"""What model calls cost: caps that hold before a call is made, and a ledger of every call."""

"""Hardware that can be rented, with its price."""

DOLLARS_A_MINUTE = {
    "cpu-basic": 0.0, "cpu-upgrade": 0.03 / 60, "t4-small": 0.4 / 60,
    "a10g-small": 1.0 / 60,
}  # fmt: skip

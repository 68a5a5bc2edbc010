"""A brain for the fault tests: drives slowly at 50 Hz; prints the guard's pid, then does what it is told.

``brain.py PORT drive|raise|clock``; at a line on stdin, "raise" prints the time and fails, "clock" prints its own.
"""

import sys
import threading
import time

from robovlms.robot.guard import GuardClient, GuardConfig


def main(port: int, deed: str) -> None:
    """Drive until something ends it."""
    limits = {
        "max_velocity": (0.5, 0.0, 1.0),
        "max_acceleration": (2.0, 2.0, 2.0),
        "max_deceleration": (1.0, 1.0, 3.0),
        "max_observation_age_s": 0.5,
    }
    guard = GuardClient(GuardConfig(driver="udp", driver_options={"host": "127.0.0.1", "port": port}, limits=limits))
    guard.start()
    print(guard.pid, flush=True)
    orders: list[str] = []

    def listen() -> None:
        """Keep what comes on stdin."""
        for line in sys.stdin:
            orders.append(line)
            if deed == "clock":
                print(time.time(), flush=True)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        guard.submit((0.016, 0.0, 0.0), 0.9, time.monotonic())
        if orders and deed == "raise":
            print(time.monotonic(), flush=True)
            raise RuntimeError("the model failed")
        time.sleep(0.02)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""The robot's side: words and boxes to actions, the shield before the wheels, the run time. Installs without torch."""

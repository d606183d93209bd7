TITLE = "the forward process"
INTRO = "x {points}"
SETUP = "import math\nimport torch"
QUESTIONS = ["make_abar"]

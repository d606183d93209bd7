"Assignment 1: what stands around the questions."
TITLE = "the forward process"

INTRO = (
    "> Learning goals: build the table of a noise schedule, draw $x_t$ in one step, follow "
    "a variance through a thousand steps, read a signal-to-noise ratio, and find slips in "
    "code that runs without complaint. With chapter 1. About 45 minutes, {points} points. "
    "What you write in words is marked by your lecturer, the rest automatically."
    "\n\n"
    "Timesteps are 0-based: `t = 0` is the paper's $t = 1$. Write your answer where a cell "
    "says `YOUR CODE HERE`, then run the folded cell below it, a test. If the answer is not "
    "right, the message says what may be the matter. When you hand in, other numbers, "
    "shapes and schedules are tried too. You may use torch, numpy and plain Python; please "
    "do not import the answer from a library. The functions are called in a process of "
    "their own: what they print is not seen here, so try them in a cell of your own.")

SETUP = "import math\nimport torch"

QUESTIONS = ["make_abar", "q_sample", "variance_after", "first_below", "noisy_batch"]

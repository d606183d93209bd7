"How far the site is: a line that changes on a terminal; in a file or a log, one in some ten pages."
import re
import sys


class Progress:
    "What is being done, and how much of it is done already."
    def __init__(self, stream=None):
        self.stream = sys.stdout if stream is None else stream
        self.live = self.stream.isatty()
        self.last = (None, -100)              # the work, and its percentage when last told

    def say(self, text):
        "A step without pages."
        self.end()
        print(text, file=self.stream, flush=True)

    def page(self, work, percent, name):
        "One page of some work."
        if self.live:
            line = f"{work}: {percent:3} % {name}"
            self.stream.write("\r" + line[:78].ljust(78))
            self.stream.flush()
        elif work != self.last[0] or percent - self.last[1] >= 10 or percent == 100:
            print(f"{work}: {percent:3} % {name}", file=self.stream, flush=True)
        else: return
        self.last = (work, percent)

    def over(self, work, names):
        "Each of the names, told before it is worked on."
        for i, name in enumerate(names, 1):
            self.page(work, round(100*i/len(names)), name)
            yield name

    def sphinx(self, line):
        "What Sphinx says of a page that it reads or writes."
        found = re.search(r"(reading sources|writing output)\.\.\. \[ *(\d+)%\] (.*\S)", line)
        if found: self.page(found[1], int(found[2]), found[3])

    def end(self):
        "The changing line stays, and what follows begins below it."
        if self.live and self.last[0] is not None: self.stream.write("\n")
        self.last = (None, -100)

"""One model is loaded at a time.

While it loads a model, transformers replaces a method of a class that all models share, and puts back what it found
there: two threads that load at once can leave the empty replacement for ever, and every language model that the process
loads later has an output layer of nothing.
"""

import threading

LOADING = threading.Lock()

"""``python -m workers.finetuning FOLDER``: see ``workers.finetuning.process``."""

import sys

from workers.finetuning.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

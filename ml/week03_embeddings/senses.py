"""Sentences in which one word means different things: the material for "static against contextual".

Written for this lesson. Six sentences a sense; each holds its word once. Engineers meet every one of these words.
"""

from __future__ import annotations

SENSES: dict[str, dict[str, list[str]]] = {
    "bank": {
        "money": [
            "The bank refused her application for a mortgage.",
            "He paid the cheque into his account at the bank on Monday.",
            "Our bank charges a fee for transfers abroad.",
            "The central bank raised interest rates by a quarter of a point.",
            "She works as an analyst for an investment bank.",
            "Customers queued outside the bank to withdraw their savings.",
        ],
        "river": [
            "We sat on the bank and watched the boats go by.",
            "The river burst its bank after a week of rain.",
            "Willows grow along the muddy bank of the stream.",
            "The otter slipped from the bank into the water.",
            "They pitched their tent on the far bank of the lake.",
            "Erosion has carried away the steep bank below the bridge.",
        ],
    },
    "branch": {
        "tree": [
            "An owl sat on the lowest branch of the oak.",
            "The storm tore a heavy branch from the apple tree.",
            "She hung the swing from a thick branch in the garden.",
            "A branch with fresh green leaves brushed the window.",
            "He cut off the dead branch with a saw.",
            "The squirrel ran along the branch and leapt.",
        ],
        "office": [
            "The company closed its branch in Lisbon last year.",
            "Please collect your new card at the local branch.",
            "She was promoted to manager of the Leeds branch.",
            "Every branch of the bookshop opens at nine.",
            "The union's largest branch has four thousand members.",
            "Staff at our Madrid branch speak three languages.",
        ],
        "version control": [
            "Push your commits to a feature branch and open a pull request.",
            "The branch was merged into main after the review.",
            "Rebase your branch before you ask for a review.",
            "The build of the release branch failed in the pipeline.",
            "Delete the remote branch once it has been merged.",
            "I created a new branch from the last stable tag with git.",
        ],
    },
    "port": {
        "harbour": [
            "The ferry left the port at dawn.",
            "Cranes unload the container ships in the port.",
            "Fishing boats returned to port before the storm.",
            "Rotterdam has the busiest port in Europe.",
            "The navy ship was refitted in port for a month.",
            "Dock workers blocked the gates of the port.",
        ],
        "network": [
            "The server listens on port 8080 by default.",
            "The firewall drops all packets to that port.",
            "Another process is already using this port.",
            "Forward the port of the database container to your laptop.",
            "The health check connects to the wrong port and times out.",
            "Open the TCP port in the security group of the instance.",
        ],
        "wine": [
            "After dinner he served a glass of old port.",
            "The port was sweet and tasted of plums.",
            "Stilton goes well with a good port.",
            "She prefers port to sherry at Christmas.",
            "This port was aged for twenty years in oak barrels.",
            "We drank a bottle of port with the cheese.",
        ],
    },
    "cell": {
        "biology": [
            "The nucleus of the cell holds most of its DNA.",
            "Each cell divides into two identical daughters.",
            "The virus enters the cell through a protein in its membrane.",
            "A red blood cell carries oxygen to the tissues.",
            "Insulin tells the cell to take up sugar.",
            "Under the microscope we saw a single cell with its walls.",
        ],
        "prison": [
            "The prisoner was locked in his cell for the night.",
            "She spent three weeks alone in a cell without a window.",
            "Guards searched the cell for hidden weapons.",
            "He shared a cell with another inmate at the jail.",
            "The suspect slept on the floor of a police cell.",
            "The door of the cell slammed shut behind the convict.",
        ],
        "spreadsheet": [
            "Type the formula into the first cell of the column.",
            "The notebook prints the result below the cell that you run.",
            "Format the cell as a date before you sort the sheet.",
            "Each cell of the table holds a number.",
            "An empty cell in the spreadsheet counts as zero.",
            "Copy the value from this cell to the rows below.",
        ],
    },
}

# A probe for each sense: what the static vector of the word is compared with.
PROBES: dict[str, dict[str, str]] = {
    "bank": {"money": "loan", "river": "river"},
    "branch": {"tree": "tree", "office": "office", "version control": "commit"},
    "port": {"harbour": "harbour", "network": "server", "wine": "wine"},
    "cell": {"biology": "protein", "prison": "prison", "spreadsheet": "spreadsheet"},
}

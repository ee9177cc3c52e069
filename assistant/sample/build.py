"""Build the sample handbook's PDF, Word and Excel documents.

Run by hand after changing a text below::

    python -m assistant.sample.build

The results are committed next to the Markdown and HTML pages, so nothing else
in the project needs reportlab, python-docx or openpyxl to *make* them. Running
it twice gives the same bytes: dates are fixed and the zip members of the
Office files are written again with a fixed time.

A document is a list of blocks. A block is a pair of a kind and its content:
``h1``, ``h2``, ``p``, ``note``, ``code`` hold text; ``ul`` and ``ol`` hold
lists of text; ``table`` holds rows, the first of which is the header. Text may
contain **bold**, `code` and [links](relative/path.md).
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from pathlib import Path
from typing import Any

HANDBOOK = Path(__file__).parent / "handbook"
COMPANY = "Tarnbrook engineering handbook"

Block = tuple[str, Any]

# --------------------------------------------------------------------------
# PDF documents
# --------------------------------------------------------------------------

DATABASE_FAILOVER: list[Block] = [
    ("h1", "Runbook: database failover"),
    (
        "p",
        "Each Postgres cluster has one primary and at least one replica, managed by Patroni. Patroni promotes a "
        "replica by itself when the primary is gone for 30 seconds. This runbook is for the other cases: a primary "
        "that is ill but not dead, a promotion that did not finish, and planned switchovers.",
    ),
    (
        "note",
        "**Alerts:** `PostgresPrimaryDown`, `PostgresReplicaLag`, `PatroniNoLeader`. The platform on-call acts; "
        "the on-call of the service that owns the data must be on the call.",
    ),
    ("h2", "Clusters"),
    (
        "table",
        [
            ["Cluster", "Services", "PgBouncer port", "Replicas", "Replication", "Largest lag for a switchover"],
            ["pg-ledger", "ledger", "6440", "2", "synchronous", "0 bytes"],
            ["pg-commerce", "stockroom, rate-quoter", "6432", "2", "asynchronous", "16 MB"],
            ["pg-tracking", "parcel-tracker, label-press", "6433", "3", "asynchronous", "64 MB"],
            ["pg-identity", "doorman", "6434", "2", "synchronous", "0 bytes"],
            ["pg-shared", "courier-sync, hookshot, postbox", "6435", "1", "asynchronous", "128 MB"],
        ],
    ),
    (
        "p",
        "Postgres itself listens on 5432 everywhere, but nothing except PgBouncer and Patroni may connect to it. "
        "finder has no Postgres; its indices are described in [backups](../data/backups.pdf).",
    ),
    ("h2", "Decide"),
    ("p", "Fail over if one of these is true, and otherwise look for another cause first:"),
    (
        "ul",
        [
            "the primary does not answer `SELECT 1` through PgBouncer for two minutes, and Patroni has not acted;",
            "the primary's disk reports errors, or its latency has been above 200 ms for five minutes;",
            "the provider has announced that it will retire the machine.",
        ],
    ),
    (
        "p",
        "High CPU is not a reason. The new primary would receive the same queries. A full disk is not a reason "
        "either, because the replica's disk is as full; follow [disk full](../runbooks/disk-full.md).",
    ),
    ("h2", "Who must agree"),
    (
        "p",
        "The platform on-call decides alone, with one exception: for `pg-ledger` the payments on-call must say "
        "yes in the incident channel. For `pg-identity` nobody has to agree, but tell `#incidents` beforehand, as "
        "everybody is logged out of console for about a minute.",
    ),
    ("h2", "Planned switchover"),
    (
        "ol",
        [
            "Look at the state and the lag, with the first command below. The lag must not exceed the last column of the "
            "table above.",
            "Pause the cluster's long jobs: `tb jobs pause --cluster pg-commerce`.",
            "Take a checkpoint on the primary, so that the restart is quick: `CHECKPOINT;`",
            "Switch over, with the second command. Clients see errors for 8 to 15 seconds while PgBouncer holds their connections.",
            "Resume the jobs: `tb jobs resume --cluster pg-commerce`.",
        ],
    ),
    (
        "code",
        "patronictl -c /etc/patroni/pg-commerce.yml list\n"
        "patronictl -c /etc/patroni/pg-commerce.yml switchover --candidate db-commerce-2 --force",
    ),
    ("h2", "Emergency failover"),
    (
        "p",
        "Use this when the primary cannot be reached. With asynchronous replication the last transactions may be "
        "lost; note the lag you saw before you continue, since it is the upper bound of the loss.",
    ),
    (
        "ol",
        [
            "Fence the old primary first, so that it cannot come back and accept writes: `tb fence db-commerce-1`. "
            "The command cuts its network and takes up to 40 seconds.",
            "Promote: `patronictl -c /etc/patroni/pg-commerce.yml failover --candidate db-commerce-2 --force`.",
            "Check that exactly one member is leader, and that the timeline number has gone up by one.",
            "Reload PgBouncer if connections hang: `tb pgbouncer reload pg-commerce`.",
            "Tell the owning team the time of the last replayed transaction. The Patroni dashboard shows it as *last replay*.",
        ],
    ),
    (
        "note",
        "**Never skip the fence.** In March 2024 an unfenced primary accepted stock adjustments for eleven minutes "
        "beside the new one, and the inventory team reconciled 1,906 rows by hand.",
    ),
    ("h2", "Afterwards"),
    (
        "ul",
        [
            "Rebuild the old primary as a replica within 24 hours: `patronictl reinit pg-commerce db-commerce-1`. A cluster "
            "of 1 TB takes about three hours.",
            "Check that archiving has resumed. The first backup after a failover is always a full one.",
            "For `pg-ledger`, run `tb ledger verify --since 24h` and attach the output to the incident.",
            "An emergency failover is at least a SEV2; see the [incident process](../incidents/process.md).",
        ],
    ),
    ("h2", "If nothing can be promoted"),
    (
        "p",
        "When Patroni says that no candidate is healthy, do not force it. Restore from backup instead, with a second "
        "platform engineer, and page the director on duty as described in [escalation](../oncall/escalation.md). "
        "While the restore runs, turn on `edge.read-only` so that merchants get a clear answer.",
    ),
]

POST_INCIDENT_REVIEW: list[Block] = [
    ("h1", "Post-incident review"),
    (
        "p",
        "A review finds out how the incident made sense to the people in it, and what to change so that the next one "
        "is smaller. It does not look for a culprit. The document is open to the whole company, and nothing in it may "
        "be used in an appraisal.",
    ),
    ("h2", "Which incidents, and by when"),
    (
        "table",
        [
            ["", "SEV1", "SEV2", "SEV3"],
            ["Review held", "always", "always", "if anybody asks"],
            ["First draft of the timeline", "2 working days", "4 working days", "none"],
            ["Meeting", "5 working days", "10 working days", "20 working days"],
            ["Final version published", "8 working days", "15 working days", "with the meeting"],
            ["Length of the meeting", "60 minutes", "45 minutes", "25 minutes"],
        ],
    ),
    (
        "p",
        "Days count from the moment the incident is *resolved*, not from its start. A roll-back of a tier 1 service that "
        "was not an incident gets a short written review of half a page and no meeting.",
    ),
    ("h2", "Roles"),
    (
        "ul",
        [
            "**Facilitator.** Leads the meeting. Never the incident commander and never from the team that owns the service. "
            "There are nine trained facilitators; `/incident facilitator` picks the one who has waited longest.",
            "**Author.** Writes the document. Usually the operations lead of the incident.",
            "**Owner.** The engineering manager who answers for the actions.",
        ],
    ),
    ("h2", "Before the meeting"),
    (
        "ol",
        [
            "The bot makes the document from the incident channel: messages, pages, deployments, flag changes.",
            "The author removes noise and adds what was not written: what people saw, what they believed, what they tried.",
            "The author gathers the numbers: merchants affected, parcels delayed, money, minutes of error budget.",
            "Everyone who took part reads it and comments. The facilitator speaks to at least two of them alone beforehand.",
            "Support adds what merchants said, with quotations and without names.",
        ],
    ),
    ("h2", "In the meeting"),
    ("p", "Start by reading the timeline aloud, even if everybody knows it. Then take these questions in turn:"),
    (
        "ul",
        [
            "How did we find out, and could we have known sooner? A merchant who finds it before we do is a finding of its own.",
            "What made the problem hard to understand?",
            "What limited the harm? Luck counts, and should be named as luck.",
            "Which of our pages, alerts and tools helped, misled or were missing?",
            "What surprised us?",
        ],
    ),
    (
        "p",
        "Avoid the word *cause* in the singular. Avoid *should have*. Ask *what* and *how* rather than *why*, since "
        "*why did you* sounds like an accusation however kindly it is meant.",
    ),
    ("h2", "Actions"),
    (
        "p",
        "Three good actions are better than twelve. Each has one person, one date and a ticket with the label "
        "`pir-action`. They come in three classes:",
    ),
    (
        "table",
        [
            ["Class", "Meaning", "Due within", "If late"],
            ["A", "the same thing could happen tomorrow", "14 days", "the team's feature work stops"],
            ["B", "makes it rarer or smaller", "45 days", "raised at the Thursday operations review"],
            ["C", "improves understanding or comfort", "90 days", "closed, with a reason"],
        ],
    ),
    (
        "p",
        "*Be more careful* is not an action, and neither is *write documentation* unless it names the page. Changing the "
        "[runbook](../runbooks/database-failover.pdf) that was used counts as part of the review and needs no ticket.",
    ),
    ("h2", "Publishing"),
    (
        "ul",
        [
            "The final version goes to `handbook/reviews/<year>/` and a summary of ten lines to `#engineering`.",
            "The owner reads out one review at the monthly all-hands, chosen because it teaches and not because it is large.",
            "For a SEV1 that merchants noticed, customer success writes their own summary from ours. Do not send them the "
            "internal document; the promise to merchants is in the [incident process](process.md).",
            "If personal data was involved, security and the general counsel read it before anybody else does.",
        ],
    ),
    ("h2", "Numbers we watch"),
    (
        "p",
        "Once a quarter platform publishes the time to detect, to acknowledge and to mitigate, the share of incidents that "
        "a merchant found first (31 per cent in 2025), and the share of class A actions that were done in time "
        "(goal: 95 per cent). We do not publish a count of incidents by team. It would only teach people not to declare.",
    ),
    ("h2", "Looking after people"),
    (
        "p",
        "Incidents are tiring. The rest rules are in [pay and rest](../oncall/compensation.md). If somebody does not want to "
        "attend the review, the facilitator speaks with them beforehand instead, and nobody asks the reason.",
    ),
]

BACKUPS: list[Block] = [
    ("h1", "Backups and restores"),
    (
        "p",
        "This page says what is backed up, how often, how long it is kept, and how to get it back. How long we keep live "
        "data is another matter, on [data retention](retention.md).",
    ),
    ("h2", "What we promise"),
    (
        "p",
        "For production Postgres we may lose at most 5 minutes of data (RPO) and shall be back within 2 hours (RTO). For "
        "ledger the RPO is zero as long as one synchronous replica lives. Staging has no promise.",
    ),
    ("h2", "What is kept"),
    (
        "table",
        [
            ["Data", "How often", "Production kept", "Staging kept"],
            ["Postgres, full", "nightly at 01:40 UTC", "35 days", "6 days"],
            ["Postgres, write-ahead log", "every minute, or each 16 MB", "35 days", "not archived"],
            ["pg-ledger, monthly copy", "on the 1st", "7 years", "none"],
            ["finder indices", "every 6 hours", "72 hours", "none"],
            ["RabbitMQ definitions", "daily", "30 days", "30 days"],
            ["Vault", "hourly", "10 days", "2 days"],
            ["Label and photo objects", "versioned on write", "as in data retention", "none"],
            ["Redis", "never", "none", "none"],
        ],
    ),
    (
        "p",
        "Backups are made with pgBackRest from a replica, never from the primary. They go to the bucket `tb-backups-prod` in "
        "London and are copied within an hour to Frankfurt, in an account that production cannot write to. Both copies are "
        "encrypted; the keys are in Vault, and a printed copy is in the safe in Leeds.",
    ),
    ("h2", "Check that backups work"),
    (
        "code",
        "tb backup status                      # age and size for every cluster\n"
        "tb backup verify pg-commerce --latest # checksums, about 20 minutes",
    ),
    (
        "p",
        "`BackupTooOld` pages platform when the newest full backup of a production cluster is older than 27 hours, and makes "
        "a ticket when an index snapshot is older than 9 hours.",
    ),
    ("h2", "Restore one table or some rows"),
    ("p", "The usual request: somebody deleted something. Never restore over a live table."),
    (
        "ol",
        [
            "Ask when it happened, as exactly as possible, and open a ticket of type `restore`.",
            "Start a side cluster at a moment before that: `tb restore start pg-commerce --at '2026-05-04 09:12 UTC' --name side-55120`.",
            "Wait. A cluster of 1 TB takes about 50 minutes. The side cluster is reachable with the role *operator* on port 7432.",
            "Copy the rows with `tb restore copy side-55120 stock.levels --where \"merchant_id='m_20418'\"`. The command prints a "
            "difference and waits for a yes from a second engineer.",
            "Remove the side cluster: `tb restore drop side-55120`. It removes itself after 48 hours.",
        ],
    ),
    ("h2", "Restore a whole cluster"),
    (
        "p",
        "Only for a declared SEV1 in which no replica can be promoted; first read [database failover]"
        "(../runbooks/database-failover.pdf).",
    ),
    (
        "ol",
        [
            "The incident commander says, in the channel, to which moment we go back.",
            "Turn on `edge.read-only`.",
            "Run `tb restore cluster pg-commerce --at '<moment>' --i-am 'incident commander'`. It needs two people, each with "
            "the role *operator* (see [access requests](../security/access-requests.md)).",
            "Let the owning team run its checks. For ledger this is `tb ledger verify`, and the count must be 0.",
            "Turn `edge.read-only` off and watch error rates for 30 minutes.",
            "Tell the data protection lead: people who were erased since that moment are back, and `reaper` must run again first.",
        ],
    ),
    ("h2", "Restore finder"),
    (
        "p",
        "Restore the newest snapshot with `tb search restore products --snapshot latest`, about 25 minutes, or rebuild from "
        "stockroom with `tb search rebuild products`, which takes 5 hours but loses nothing. If the snapshot is older than 12 "
        "hours, rebuild.",
    ),
    ("h2", "Restore Vault"),
    (
        "p",
        "Three of the five key holders are needed to unseal. Their names are in the sealed envelope with the hardware keys. "
        "Secrets changed since the last hourly copy have to be rotated again.",
    ),
    ("h2", "Restore tests"),
    (
        "ul",
        [
            "On the first Thursday of each month the robot restores one production cluster, in turn, into an empty account and "
            "runs the owner's checks. The result is posted in `#backups`.",
            "Each February we restore pg-ledger from a monthly copy at least five years old.",
            "A test that fails is a SEV3, and two in a row are a SEV2.",
        ],
    ),
]

PDFS: list[tuple[str, str, str, list[Block]]] = [
    ("runbooks/database-failover.pdf", "Platform", "2026-04-27", DATABASE_FAILOVER),
    ("incidents/post-incident-review.pdf", "Platform", "2026-03-05", POST_INCIDENT_REVIEW),
    ("data/backups.pdf", "Platform", "2026-05-07", BACKUPS),
]

# --------------------------------------------------------------------------
# Word documents
# --------------------------------------------------------------------------

ONBOARDING: list[Block] = [
    ("h1", "Onboarding for engineers"),
    (
        "p",
        "Welcome. This page is the plan for your first four months. Your manager made a copy of the checklist at the end "
        "for you; tick things off there. If something takes longer, that is information and not a failure.",
    ),
    ("h2", "Before you start"),
    (
        "p",
        "Your laptop and two security keys are sent to arrive three working days before your first day. Keep one key on you "
        "and the other at home. Do not open the laptop before the first morning, since enrolment needs a code from IT that "
        "is valid for four hours.",
    ),
    ("h2", "Your buddy"),
    (
        "p",
        "You have a buddy from another team for the first eight weeks. Ask your buddy everything you would not like to ask "
        "your manager. Buddies set aside three hours a week in the first fortnight and one hour after that.",
    ),
    ("h2", "The first day"),
    (
        "ol",
        [
            "09:30: enrol the laptop with IT, on a call or on the second floor in Leeds.",
            "10:30: meet your manager and your buddy.",
            "11:30: request *reader* in Latchkey; how is in [access requests](../security/access-requests.md).",
            "Afternoon: follow [local development set-up](local-setup.md). Getting as far as `tb doctor` is enough.",
            "Before you go: write in `#hello` who you are and one thing you are good at that is not work.",
        ],
    ),
    ("h2", "The first two weeks"),
    (
        "ul",
        [
            "Ship something small to production by your eighth working day. Your buddy finds it for you beforehand; a line in a "
            "message text is quite enough.",
            "Spend a morning in the Wetherby warehouse of one of our merchants. It is a 40-minute drive from the Leeds office, and "
            "lunch is paid.",
            "Read [code review](code-review.md) and the [incident process](../incidents/process.md).",
            "Have a conversation of half an hour with each person in your team.",
        ],
    ),
    ("h2", "Training"),
    (
        "table",
        [
            ["Course", "Form", "Length", "Finish by"],
            ["Security basics", "online", "50 minutes", "day 5"],
            ["Personal data", "online, with a test; 8 of 10 to pass", "35 minutes", "day 10"],
            ["How money moves", "with payments, in person or on a call", "2 hours", "week 4"],
            ["Incident response", "game day in staging", "half a day", "week 8"],
            ["Secure coding", "workshop", "1 day", "month 4"],
        ],
    ),
    (
        "p",
        "Without the first two, Latchkey refuses every production role. The third is required for anyone who wants to review "
        "in the ledger repository.",
    ),
    ("h2", "Towards on call"),
    (
        "p",
        "Nobody goes on call before the fifth month. In months three and four you shadow; the rules are in [rotations and "
        "handover](../oncall/rotation.md). While you shadow you are paged along with the primary, but you do not have to answer at night "
        "and you are not paid for standby.",
    ),
    ("h2", "Talks with your manager"),
    (
        "ul",
        [
            "Every week, 30 minutes, and your subjects come first.",
            "After 30 days: what is odd here? Write three things down while you can still see them.",
            "After 100 days: the first longer talk about how it is going, in both directions.",
            "After 6 months: the end of probation in the United Kingdom. In the Netherlands it ends after two months, as the law says.",
        ],
    ),
    ("h2", "Who to ask"),
    (
        "table",
        [
            ["Question", "Where"],
            ["Laptop, accounts, meeting rooms", "#it-help, or extension 4400"],
            ["Contract, payslip, leave", "#people-help"],
            ["The toolbox, pipelines, clusters", "#platform-help"],
            ["Something looks like a security problem", "#security-alerts, at any hour"],
            ["I do not know where to ask", "your buddy"],
        ],
    ),
    ("h2", "Checklist"),
    (
        "ul",
        [
            "Both security keys work",
            "`tb dev up` runs a service",
            "First change in production",
            "Security basics and personal data passed",
            "Warehouse visited",
            "Emergency contact entered in Payday",
        ],
    ),
]

LAPTOPS: list[Block] = [
    ("h1", "Laptops and vulnerability deadlines"),
    (
        "p",
        "The first half of this page is about the machine on your desk, the second about the software we run for merchants. "
        "They share a page because they share a question: how quickly must a hole be closed?",
    ),
    ("h2", "Laptops"),
    (
        "p",
        "Work is done on a company laptop. Private machines may be used for mail and Slack in the browser, and nothing else. "
        "The management agent checks these things every day:",
    ),
    (
        "table",
        [
            ["What", "Rule", "If not"],
            ["Disk encryption", "on, with the recovery key at IT", "blocked at once"],
            ["Screen lock", "after 5 minutes at most", "reminder, blocked after 3 days"],
            ["Operating system updates", "within 10 days of release", "blocked on day 11"],
            ["Browser updates", "within 4 days of release", "blocked on day 5"],
            ["Firewall", "on", "turned on for you"],
        ],
    ),
    (
        "p",
        "Blocked means that Latchkey gives you no roles and doorman no session. Put the matter right and press *Check again*; "
        "access returns within 10 minutes.",
    ),
    ("h2", "Lost or stolen"),
    (
        "ol",
        [
            "Report it within one hour of noticing: extension 4471, day and night, or `#security-alerts` from somebody else's account.",
            "Security wipes the machine. Do not wait to see whether it turns up.",
            "Report a theft to the police and send the reference to IT within five days, for the insurance.",
            "A replacement is sent on the next working day.",
        ],
    ),
    (
        "p",
        "The same holds for a security key, which is revoked at once. Reporting a loss has never had a consequence for anyone. "
        "Not reporting one would.",
    ),
    ("h2", "Travel"),
    (
        "p",
        "Take a loan laptop when you go to a country on the list in `#security-alerts`. Ask for it seven days ahead. It is wiped "
        "when you come back.",
    ),
    ("h2", "Vulnerability deadlines"),
    (
        "p",
        "The clock starts when our scanner or a person first reports the finding to the owner, not when it was published. "
        "Severity is CVSS, corrected by security for how it can be reached.",
    ),
    (
        "table",
        [
            ["Severity", "Reachable from the internet", "Internal only"],
            ["Critical", "48 hours", "7 days"],
            ["High", "10 days", "21 days"],
            ["Medium", "45 days", "75 days"],
            ["Low", "at the next upgrade", "at the next upgrade"],
        ],
    ),
    (
        "p",
        "If it is being exploited anywhere in the world, it counts as critical whatever the score. If it is being exploited here, "
        "it is an incident; see the [incident process](../incidents/process.md).",
    ),
    ("h2", "How findings reach you"),
    (
        "ul",
        [
            "The [pipeline](../deploy/pipeline.md) scans each image when it is built, and again every night while it is in production.",
            "A ticket goes to the owning team with the label `vuln` and its due date. Do not change the date; ask for an exception.",
            "Penetration testers come twice a year, in March and September. Their findings are entered the same way.",
            "Outside researchers write to `security@tarnbrook.example`. They get an answer within two working days and, for a real "
            "finding, between £100 and £2,500.",
        ],
    ),
    ("h2", "Exceptions"),
    (
        "p",
        "If you cannot meet a deadline, ask before it passes. An exception says what protects us meanwhile. The security lead, "
        "Marit Halvorsen, grants up to 30 days; anything longer, or any critical one, is for the Director of Engineering. "
        "An exception can be renewed once.",
    ),
    ("h2", "Dependencies"),
    (
        "ul",
        [
            "The bot opens update requests on Tuesdays. Patch versions merge themselves when tests pass, except in ledger.",
            "A library without a release in two years needs a note in `DEPENDENCIES.md` on why we keep it.",
            "Base images are rebuilt every Sunday night. Redeploy at least every 28 days so that you run on a recent one.",
        ],
    ),
    ("p", "Machine credentials are dealt with in [secrets rotation](secrets-rotation.md)."),
]

DOCXS: list[tuple[str, str, str, list[Block]]] = [
    ("people/onboarding.docx", "People Operations", "2026-04-16", ONBOARDING),
    ("security/laptops-and-vulnerabilities.docx", "Security", "2026-05-21", LAPTOPS),
]

# --------------------------------------------------------------------------
# Excel workbook
# --------------------------------------------------------------------------

SERVICES: list[list[Any]] = [
    [
        "Service",
        "What it does",
        "Team",
        "Language",
        "Port",
        "Tier",
        "SLO (28 days)",
        "Datastore",
        "Rotation",
        "Dashboard",
        "Repository",
        "Slack channel",
    ],
    [
        "gateway",
        "Edge of the public API: tokens, limits, routing",
        "Edge",
        "Go",
        8080,
        1,
        "99.95%",
        "Redis (redis-edge)",
        "edge-primary",
        "grafana/d/gw-front",
        "tarnbrook/gateway",
        "#team-edge",
    ],
    [
        "hookshot",
        "Delivers webhooks to merchants",
        "Edge",
        "Go",
        8096,
        2,
        "99.5%",
        "pg-shared",
        "edge-daytime",
        "grafana/d/hooks-out",
        "tarnbrook/hookshot",
        "#team-edge",
    ],
    [
        "ledger",
        "Payments, payouts, invoices, double-entry book",
        "Payments",
        "Kotlin",
        8142,
        1,
        "99.97%",
        "pg-ledger",
        "payments-primary",
        "grafana/d/ledger-money",
        "tarnbrook/ledger",
        "#team-payments",
    ],
    [
        "parcel-tracker",
        "Takes in carrier scans, answers where a parcel is",
        "Tracking",
        "Go",
        8210,
        1,
        "99.9%",
        "pg-tracking",
        "tracking-primary",
        "grafana/d/parcels",
        "tarnbrook/parcel-tracker",
        "#team-tracking",
    ],
    [
        "label-press",
        "Renders and spools shipping labels",
        "Tracking",
        "Python",
        8233,
        1,
        "99.85%",
        "pg-tracking",
        "tracking-primary",
        "grafana/d/labels",
        "tarnbrook/label-press",
        "#team-tracking",
    ],
    [
        "rate-quoter",
        "Compares carrier prices for a parcel",
        "Pricing",
        "Rust",
        8305,
        1,
        "99.9%",
        "pg-commerce, Redis (redis-pricing)",
        "commerce-primary",
        "grafana/d/quotes",
        "tarnbrook/rate-quoter",
        "#team-pricing",
    ],
    [
        "finder",
        "Search over products, parcels and orders",
        "Search",
        "Java",
        8417,
        2,
        "99.4%",
        "OpenSearch, Redis (redis-search)",
        "search-daytime",
        "grafana/d/finder-core",
        "tarnbrook/finder",
        "#team-search",
    ],
    [
        "stockroom",
        "Stock levels, adjustments, reorder points",
        "Inventory",
        "Kotlin",
        8520,
        1,
        "99.8%",
        "pg-commerce",
        "commerce-primary",
        "grafana/d/stock",
        "tarnbrook/stockroom",
        "#team-inventory",
    ],
    [
        "courier-sync",
        "Talks to carriers, polls those that do not push",
        "Carriers",
        "Python",
        8618,
        2,
        "99.0%",
        "pg-shared",
        "carriers-daytime",
        "grafana/d/couriers",
        "tarnbrook/courier-sync",
        "#team-carriers",
    ],
    [
        "doorman",
        "Identity: sign-in, tokens, calling services",
        "Identity",
        "Go",
        8701,
        1,
        "99.98%",
        "pg-identity",
        "identity-primary",
        "grafana/d/doorman",
        "tarnbrook/doorman",
        "#team-identity",
    ],
    [
        "postbox",
        "Email and text messages to merchants and recipients",
        "Messaging",
        "Elixir",
        8812,
        3,
        "98.5%",
        "pg-shared",
        "messaging-daytime",
        "grafana/d/postbox",
        "tarnbrook/postbox",
        "#team-messaging",
    ],
    [
        "console",
        "The web application for merchants; holds Lanterns",
        "Web",
        "TypeScript",
        3100,
        2,
        "99.7%",
        "none",
        "web-daytime",
        "grafana/d/console-web",
        "tarnbrook/console",
        "#team-web",
    ],
]

ROTATIONS: list[list[Any]] = [
    ["Rotation", "Covers", "Kind", "People", "Hands over", "Time (Europe/London)", "Lead", "Director"],
    ["edge-primary", "gateway", "round the clock", 6, "Tuesday", "10:30", "Imogen Achterberg", "Saskia Lund"],
    ["edge-daytime", "hookshot", "business hours", 6, "Tuesday", "09:15", "Imogen Achterberg", "Saskia Lund"],
    ["payments-primary", "ledger", "round the clock", 8, "Wednesday", "11:00", "Tomasz Wierzbicki", "Saskia Lund"],
    ["payments-secondary", "ledger", "round the clock", 8, "Thursday", "11:00", "Tomasz Wierzbicki", "Saskia Lund"],
    [
        "tracking-primary",
        "parcel-tracker, label-press",
        "round the clock",
        7,
        "Tuesday",
        "14:00",
        "Farah Siddiqi",
        "Rhodri Vane",
    ],
    [
        "commerce-primary",
        "rate-quoter, stockroom",
        "round the clock",
        9,
        "Monday",
        "14:30",
        "Lars Engstrom",
        "Rhodri Vane",
    ],
    ["search-daytime", "finder", "business hours", 5, "Monday", "10:00", "Noor van Dijk", "Rhodri Vane"],
    ["carriers-daytime", "courier-sync", "business hours", 5, "Monday", "09:30", "Desmond Oyelaran", "Rhodri Vane"],
    ["identity-primary", "doorman", "round the clock", 6, "Wednesday", "15:00", "Priya Raghunathan", "Saskia Lund"],
    ["messaging-daytime", "postbox", "business hours", 5, "Friday", "09:30", "Hana Kovar", "Rhodri Vane"],
    ["web-daytime", "console", "business hours", 7, "Thursday", "09:45", "Callum Baptiste", "Rhodri Vane"],
    [
        "platform-primary",
        "clusters, Postgres, RabbitMQ, Redis, Vault",
        "round the clock",
        10,
        "Tuesday",
        "16:00",
        "Gethin Probert",
        "Saskia Lund",
    ],
]

# --------------------------------------------------------------------------
# Inline text
# --------------------------------------------------------------------------

_INLINE = re.compile(r"\*\*(?P<bold>.+?)\*\*|`(?P<code>.+?)`|\[(?P<text>[^\]]+)\]\((?P<href>[^)]+)\)|\*(?P<em>[^*]+)\*")


def spans(text: str) -> list[tuple[str, str, str]]:
    """Cut text into (kind, text, href) spans; kind is plain, bold, em, code or link."""
    out: list[tuple[str, str, str]] = []
    at = 0
    for match in _INLINE.finditer(text):
        if match.start() > at:
            out.append(("plain", text[at : match.start()], ""))
        if match["bold"] is not None:
            out.append(("bold", match["bold"], ""))
        elif match["code"] is not None:
            out.append(("code", match["code"], ""))
        elif match["em"] is not None:
            out.append(("em", match["em"], ""))
        else:
            out.append(("link", match["text"], match["href"]))
        at = match.end()
    if at < len(text):
        out.append(("plain", text[at:], ""))
    return out


def plain(text: str) -> str:
    return "".join(piece for _, piece, _ in spans(text))


# --------------------------------------------------------------------------
# Writers
# --------------------------------------------------------------------------


def write_pdf(path: Path, owner: str, updated: str, blocks: list[Block]) -> None:
    from xml.sax.saxutils import escape

    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.pdfbase.pdfmetrics import stringWidth
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import (
        BaseDocTemplate,
        Frame,
        ListFlowable,
        ListItem,
        PageTemplate,
        Paragraph,
        Preformatted,
        Spacer,
        Table,
        TableStyle,
    )

    ink, accent, pale, grey = (colors.HexColor(c) for c in ("#1f2933", "#0b5a6b", "#e8f1f3", "#6b7780"))
    base = ParagraphStyle("base", fontName="Helvetica", fontSize=10, leading=14.5, textColor=ink, spaceAfter=6)
    h1 = ParagraphStyle("h1", base, fontName="Helvetica-Bold", fontSize=21, leading=26, textColor=accent, spaceAfter=2)
    meta = ParagraphStyle("meta", base, fontSize=8.5, leading=11, textColor=grey, spaceAfter=12)
    h2 = ParagraphStyle(
        "h2",
        base,
        fontName="Helvetica-Bold",
        fontSize=13,
        leading=17,
        spaceBefore=9,
        spaceAfter=4,
        textColor=accent,
        keepWithNext=1,
    )
    cell = ParagraphStyle("cell", base, fontSize=8.8, leading=11.5, spaceAfter=0)
    head = ParagraphStyle("head", cell, fontName="Helvetica-Bold", textColor=colors.white)
    item = ParagraphStyle("item", base, spaceAfter=3)
    code = ParagraphStyle(
        "code",
        fontName="Courier",
        fontSize=8.4,
        leading=11.5,
        backColor=colors.HexColor("#f3f5f6"),
        borderPadding=6,
        textColor=ink,
        spaceBefore=8,
        spaceAfter=12,
        leftIndent=6,
        rightIndent=6,
    )
    note = ParagraphStyle(
        "note", base, backColor=pale, borderPadding=7, leftIndent=7, rightIndent=7, spaceBefore=9, spaceAfter=13
    )

    def rich(text: str) -> str:
        out = []
        for kind, piece, href in spans(text):
            piece = escape(piece)
            if kind == "bold":
                piece = f"<b>{piece}</b>"
            elif kind == "em":
                piece = f"<i>{piece}</i>"
            elif kind == "code":
                piece = f'<font face="Courier" size="{8.2 if len(text) < 40 else 9}">{piece}</font>'
            elif kind == "link":
                piece = f'<a href="{escape(href)}" color="#0b5a6b"><u>{piece}</u></a>'
            out.append(piece)
        return "".join(out)

    class HandbookCanvas(Canvas):
        """Treats a link with a path as a relative address; numbers the pages 'n of m'."""

        def __init__(self, *args: Any, **kw: Any) -> None:
            super().__init__(*args, **kw)
            self._pages: list[dict] = []

        def linkRect(self, contents: Any, destinationname: Any, *args: Any, **kw: Any) -> None:
            rect = args[0] if args else kw.get("Rect")
            self.linkURL(str(destinationname), rect, relative=1)

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for page in self._pages:
                self.__dict__.update(page)
                self.setFont("Helvetica", 8)
                self.setFillColor(grey)
                self.drawRightString(A4[0] - 20 * mm, 11 * mm, f"Page {self._pageNumber} of {len(self._pages)}")
                super().showPage()
            super().save()

    title = next(text for kind, text in blocks if kind == "h1")

    def furniture(canvas: Any, _doc: Any) -> None:
        canvas.saveState()
        canvas.setFont("Helvetica", 8)
        canvas.setFillColor(grey)
        canvas.drawString(20 * mm, A4[1] - 13 * mm, COMPANY)
        canvas.drawString(20 * mm, 11 * mm, f"{title} - owned by {owner}")
        canvas.setStrokeColor(colors.HexColor("#cfd8dc"))
        canvas.line(20 * mm, A4[1] - 15.5 * mm, A4[0] - 20 * mm, A4[1] - 15.5 * mm)
        canvas.line(20 * mm, 15.5 * mm, A4[0] - 20 * mm, 15.5 * mm)
        canvas.restoreState()

    width = A4[0] - 40 * mm
    flow: list[Any] = []
    for kind, content in blocks:
        if kind == "h1":
            flow += [Paragraph(rich(content), h1), Paragraph(f"Owner: {owner} &nbsp;|&nbsp; Updated: {updated}", meta)]
        elif kind == "h2":
            flow.append(Paragraph(rich(content), h2))
        elif kind == "p":
            flow.append(Paragraph(rich(content), base))
        elif kind == "note":
            flow.append(Paragraph(rich(content), note))
        elif kind == "code":
            flow.append(Preformatted(content, code))
        elif kind in ("ul", "ol"):
            items = [ListItem(Paragraph(rich(text), item)) for text in content]
            if kind == "ul":
                flow.append(ListFlowable(items, bulletType="bullet", start="\u2022", leftIndent=14, bulletColor=accent))
            else:
                flow.append(
                    ListFlowable(
                        items,
                        bulletType="1",
                        bulletFormat="%s.",
                        leftIndent=18,
                        bulletFontSize=10,
                        bulletFontName="Helvetica-Bold",
                        bulletColor=accent,
                    )
                )
            flow.append(Spacer(1, 4))
        elif kind == "table":
            rows = [[Paragraph(rich(c), head if i == 0 else cell) for c in row] for i, row in enumerate(content)]
            columns = [[plain(row[i]) for row in content] for i in range(len(content[0]))]
            # No column narrower than its longest word; the rest is shared out by the length of the text.
            least = [
                max(stringWidth(w, "Helvetica-Bold", 9) for c in column for w in c.split()) + 13 for column in columns
            ]
            wish = [max(min(len(c), 34) for c in column) + 4 for column in columns]
            spare = width - sum(least)
            widths = [n + spare * w / sum(wish) for n, w in zip(least, wish, strict=True)]
            table = Table(rows, colWidths=widths, repeatRows=1)
            table.setStyle(
                TableStyle(
                    [
                        ("BACKGROUND", (0, 0), (-1, 0), accent),
                        ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, pale]),
                        ("LINEBELOW", (0, 0), (-1, -1), 0.4, colors.HexColor("#cfd8dc")),
                        ("VALIGN", (0, 0), (-1, -1), "TOP"),
                        ("TOPPADDING", (0, 0), (-1, -1), 4),
                        ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
                    ]
                )
            )
            flow += [Spacer(1, 3), table, Spacer(1, 9)]
        else:
            raise ValueError(kind)

    path.parent.mkdir(parents=True, exist_ok=True)
    doc = BaseDocTemplate(
        str(path),
        pagesize=A4,
        title=title,
        author=f"Tarnbrook, {owner}",
        subject=COMPANY,
        creator="assistant.sample.build",
        invariant=1,
    )
    frame = Frame(
        20 * mm, 19 * mm, width, A4[1] - 39 * mm, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0
    )
    doc.addPageTemplates([PageTemplate(frames=[frame], onPage=furniture)])
    doc.build(flow, canvasmaker=HandbookCanvas)


def _fixed_zip(data: bytes, when: datetime.datetime) -> bytes:
    """Write an Office file's zip again with one time for all its members and for 'modified'."""
    stamp = when.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            body = old.read(info)
            if info.filename == "docProps/core.xml":
                body = re.sub(
                    rb"(<dcterms:(created|modified)[^>]*>)[^<]*(</dcterms:)", rb"\g<1>" + stamp + rb"\g<3>", body
                )
            fixed = zipfile.ZipInfo(info.filename, date_time=when.timetuple()[:6])
            fixed.compress_type = zipfile.ZIP_DEFLATED
            fixed.external_attr = 0o600 << 16
            new.writestr(fixed, body)
    return out.getvalue()


def write_docx(path: Path, owner: str, updated: str, blocks: list[Block]) -> None:
    import docx
    from docx.opc.constants import RELATIONSHIP_TYPE
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn
    from docx.shared import Mm, Pt, RGBColor

    document = docx.Document()
    section = document.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    section.left_margin = section.right_margin = Mm(23)
    section.top_margin = section.bottom_margin = Mm(22)
    normal = document.styles["Normal"]
    normal.font.name, normal.font.size = "Calibri", Pt(11)
    normal.paragraph_format.space_after = Pt(6)
    section.header.paragraphs[0].text = COMPANY
    section.footer.paragraphs[0].text = f"Owner: {owner}. Updated: {updated}."

    def write(paragraph: Any, text: str) -> None:
        for kind, piece, href in spans(text):
            if kind == "link":
                rel = paragraph.part.relate_to(href, RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
                link = OxmlElement("w:hyperlink")
                link.set(qn("r:id"), rel)
                run = paragraph.add_run(piece)
                run.font.color.rgb, run.font.underline = RGBColor(0x0B, 0x5A, 0x6B), True
                paragraph._p.remove(run._r)
                link.append(run._r)
                paragraph._p.append(link)
                continue
            run = paragraph.add_run(piece)
            if kind == "bold":
                run.bold = True
            elif kind == "em":
                run.italic = True
            elif kind == "code":
                run.font.name, run.font.size = "Consolas", Pt(10)

    def new_number_list() -> str:
        """A numbering instance of its own, so that each numbered list starts at 1."""
        numbering = document.part.numbering_part.element
        style_num = document.styles["List Number"].element.pPr.numPr.numId.val
        abstract = next(n.abstractNumId.val for n in numbering.num_lst if n.numId == style_num)
        num = numbering.add_num(abstract)
        num.add_lvlOverride(ilvl=0).add_startOverride(1)
        return num.numId

    for kind, content in blocks:
        if kind in ("h1", "h2"):
            document.add_heading(plain(content), level=int(kind[1]))
        elif kind in ("p", "note"):
            write(document.add_paragraph(), content)
        elif kind == "ul":
            for text in content:
                write(document.add_paragraph(style="List Bullet"), text)
        elif kind == "ol":
            num_id = new_number_list()
            for text in content:
                paragraph = document.add_paragraph(style="List Number")
                num_pr = paragraph._p.get_or_add_pPr().get_or_add_numPr()
                num_pr.get_or_add_ilvl().val = 0
                num_pr.get_or_add_numId().val = num_id
                write(paragraph, text)
        elif kind == "table":
            table = document.add_table(rows=0, cols=len(content[0]), style="Light Grid Accent 1")
            for row in content:
                cells = table.add_row().cells
                for target, text in zip(cells, row, strict=True):
                    write(target.paragraphs[0], text)
                    target.paragraphs[0].paragraph_format.space_after = Pt(2)
            document.add_paragraph()
        else:
            raise ValueError(kind)

    when = datetime.datetime.fromisoformat(updated + "T09:00:00")
    core = document.core_properties
    core.title, core.author, core.last_modified_by = plain(blocks[0][1]), f"Tarnbrook, {owner}", f"Tarnbrook, {owner}"
    core.comments, core.subject, core.revision = "", COMPANY, 1
    core.created = core.modified = when
    buffer = io.BytesIO()
    document.save(buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_fixed_zip(buffer.getvalue(), when))


def write_xlsx(path: Path, updated: str) -> None:
    import openpyxl
    from openpyxl.styles import Alignment, Font, PatternFill
    from openpyxl.utils import get_column_letter

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in (("Services", SERVICES), ("On-call rotations", ROTATIONS)):
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        for cell in sheet[1]:
            cell.font = Font(bold=True, color="FFFFFF")
            cell.fill = PatternFill("solid", fgColor="0B5A6B")
        for line in sheet.iter_rows(min_row=2):
            for cell in line:
                cell.alignment = Alignment(vertical="top", wrap_text=True)
        for i in range(len(rows[0])):
            longest = max(len(str(row[i])) for row in rows)
            sheet.column_dimensions[get_column_letter(i + 1)].width = min(longest + 3, 38)
        sheet.freeze_panes = "B2"
        sheet.auto_filter.ref = sheet.dimensions
    when = datetime.datetime.fromisoformat(updated + "T09:00:00")
    book.properties.title, book.properties.creator = "Service catalogue", "Tarnbrook, Platform"
    book.properties.created = when
    buffer = io.BytesIO()
    book.save(buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_fixed_zip(buffer.getvalue(), when))


def build(root: Path = HANDBOOK) -> list[Path]:
    """Write every binary document below *root* and return their paths."""
    made = []
    for name, owner, updated, blocks in PDFS:
        write_pdf(root / name, owner, updated, blocks)
        made.append(root / name)
    for name, owner, updated, blocks in DOCXS:
        write_docx(root / name, owner, updated, blocks)
        made.append(root / name)
    write_xlsx(root / "services/catalogue.xlsx", "2026-05-25")
    made.append(root / "services/catalogue.xlsx")
    return made


def main() -> None:
    for path in build():
        print(path.relative_to(HANDBOOK), path.stat().st_size)


if __name__ == "__main__":
    main()

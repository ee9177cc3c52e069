# Copy to NAME.tfvars; everything else has a default (variables.tf).
name       = "almanac"
account_id = "111122223333"
region     = "eu-central-1"
size       = "small"
domain     = "almanac.example.com"
zone_id    = "Z0123456789ABCDEFGHIJ"
admins     = ["arn:aws:iam::111122223333:role/Administrators"]
api_cidrs  = ["203.0.113.0/24"]

alert_emails       = ["platform@example.com"]
monthly_budget_usd = 600

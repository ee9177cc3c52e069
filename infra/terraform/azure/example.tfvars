# Copy to NAME.tfvars; everything else has a default (variables.tf).
name            = "almanac"
unique          = "x7k2"
subscription_id = "00000000-0000-0000-0000-000000000000"
location        = "germanywestcentral"
size            = "small"
domain          = "almanac.example.com"
operator_cidrs  = ["203.0.113.0/24"]
admin_group_ids = ["00000000-0000-0000-0000-000000000000"]

teams = {
  app_id    = "00000000-0000-0000-0000-000000000000"
  tenant_id = "00000000-0000-0000-0000-000000000000"
}

openai = {
  model   = "gpt-5-mini"
  version = "2025-08-07"
}

alert_emails   = ["platform@example.com"]
monthly_budget = 900

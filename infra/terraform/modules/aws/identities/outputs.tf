output "service_accounts" {
  description = "Which service account has which role."
  value = { for key, account in local.accounts : key => {
    namespace = account.namespace
    account   = account.account
    role_arn  = aws_iam_role.this[key].arn
  } }
}

output "statements" {
  description = "What each may do, for tests: actions, resources and conditions by service account."
  value       = { for key, account in local.accounts : key => account.statements }
}

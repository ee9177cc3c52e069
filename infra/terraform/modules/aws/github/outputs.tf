output "roles" {
  description = "ARN of each role: plan, build, deploy."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}

output "statements" {
  description = "What each role may do, for tests."
  value       = local.statements
}

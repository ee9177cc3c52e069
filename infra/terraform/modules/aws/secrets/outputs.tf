output "names" {
  description = "Names of the secrets, by what they are for."
  value       = { for key, secret in aws_secretsmanager_secret.this : key => secret.name }
}

output "arns" {
  description = "ARNs of the secrets."
  value       = [for secret in aws_secretsmanager_secret.this : secret.arn]
}

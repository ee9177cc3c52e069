output "address" {
  description = "Host of the primary."
  value       = aws_db_instance.this.address
}

output "reader_address" {
  description = "Host that searches read from: the first replica, or the primary."
  value       = var.replicas > 0 ? aws_db_instance.replica[0].address : aws_db_instance.this.address
}

output "master_secret_arn" {
  description = "Secret with the master's user name and password, which AWS rotates."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}

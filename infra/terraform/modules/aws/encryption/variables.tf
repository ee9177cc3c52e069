variable "name" {
  description = "Prefix of the keys' aliases."
  type        = string
}

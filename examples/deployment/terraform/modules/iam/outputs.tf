output "instance_profile" {
  description = "Profile of the machine."
  value       = aws_iam_instance_profile.this.name
}

output "flow_role_arn" {
  description = "Role that writes the logs of the network."
  value       = aws_iam_role.this["flow"].arn
}

output "trail_role_arn" {
  description = "Role that writes the audit trail."
  value       = aws_iam_role.this["trail"].arn
}

output "steward_role_arn" {
  description = "Role of a data steward."
  value       = aws_iam_role.this["steward"].arn
}

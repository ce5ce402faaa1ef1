# What moto cannot do is left out of an apply against it; `terraform test` looks at these parts.
provider "aws" {
  s3_use_path_style = true
}

# It knows no tags of a budget.
resource "aws_budgets_budget" "this" {
  count = 0
}

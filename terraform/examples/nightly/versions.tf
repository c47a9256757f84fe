terraform {
  required_version = ">= 1.9, < 2.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.0"
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "~> 7.0"
    }
  }

  # State holds no secret, but it does hold every name: keep it in a bucket that few may read.
  # backend "gcs" {
  #   bucket = "YOUR-STATE-BUCKET"
  #   prefix = "beam-bert"
  # }
}

provider "google-beta" {
  project               = var.project_id
  region                = var.region
  billing_project       = var.project_id
  user_project_override = true
}

provider "google" {
  project = var.project_id
  region  = var.region
  # Budgets belong to the billing account, so the call itself must be charged to a project.
  billing_project       = var.project_id
  user_project_override = true
}

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  project_id          = "your-project"
  region              = "europe-west1"
  workflow_name       = "beam-bert-nightly"
  watch_workflow_name = "beam-bert-watch"
  emails              = ["data-team@example.com"]
  budget              = { billing_account = "000000-000000-000000", amount = 200, labels = { app = "beam-bert" } }
}

run "the_budget_goes_by_the_projects_number" {
  assert {
    condition     = tolist(google_billing_budget.cost["this"].budget_filter[0].projects) == tolist(["projects/123456789012"])
    error_message = "The API refuses a project's id there."
  }
}

run "an_incident_closes_so_that_the_next_failure_is_heard" {
  assert {
    condition = alltrue([
      for policy in [
        google_monitoring_alert_policy.failed, google_monitoring_alert_policy.late,
        google_monitoring_alert_policy.slow, google_monitoring_alert_policy.rejects,
      ] : policy.alert_strategy[0].auto_close == "1800s"
    ])
    error_message = "An open incident sends no second mail."
  }
}

run "late_is_what_the_watch_says_and_not_a_day_without_success" {
  assert {
    condition     = strcontains(google_monitoring_alert_policy.late.conditions[0].condition_threshold[0].filter, "beam-bert-watch")
    error_message = "Monitoring looks back 25 hours, less than two nights may lie apart."
  }
}

run "commands_in_the_texts_say_where" {
  assert {
    condition = alltrue(flatten([
      for policy in [google_monitoring_alert_policy.failed, google_monitoring_alert_policy.late, google_monitoring_alert_policy.slow] : [
        for command in regexall("`gcloud [^`]*`", policy.documentation[0].content) : can(regex("--(location|region)=europe-west1", command))
      ]
    ]))
    error_message = "gcloud asks for the location, or looks in another one."
  }
}

//! The schema steel: functions, triggers and tables that SteelDB keeps in every PostgreSQL

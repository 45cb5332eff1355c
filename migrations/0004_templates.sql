-- What broadcasts say, in as many languages as there are translations.
create table templates (
  key text collate "C" primary key,
  default_locale text not null,
  -- As they were given: a list of {locale, title, body, url}. Nobody searches in it.
  translations json not null,
  updated_at timestamptz(3) not null default now()
);

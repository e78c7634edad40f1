mod agreement;
mod counting;
mod messages;
mod rules;
mod world;

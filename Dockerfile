FROM node:22-slim AS build
WORKDIR /app
COPY package.json package-lock.json tsconfig.json tsconfig.build.json nest-cli.json ./
RUN npm ci --ignore-scripts
COPY src ./src
RUN npm run build

FROM node:22-slim
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8765
WORKDIR /app
COPY package.json package-lock.json ./
# Peers of the package are development dependencies of this repository; the service needs them at run time.
RUN npm ci --omit=dev --ignore-scripts && npm install --no-save --ignore-scripts @nestjs/platform-express@12 && npm cache clean --force
COPY --from=build /app/dist ./dist
USER node
EXPOSE 8765
CMD ["node", "dist/main.js"]
